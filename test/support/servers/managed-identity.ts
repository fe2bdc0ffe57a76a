import { createServer } from 'node:http';

/** A host's managed identity, as Azure's App Service offers it: tokens that Azurite takes. */
export type ManagedIdentity = {
  /** What Azure's SDK finds in the environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Tokens given out. */
  tokens(): number;
  stop(): Promise<void>;
};

const LIFETIME_S = 3600;

/** Starts one on 127.0.0.1. */
export async function startManagedIdentity(): Promise<ManagedIdentity> {
  let given = 0;
  const server = createServer((request, response) => {
    const resource = new URL(request.url ?? '', 'http://127.0.0.1').searchParams.get('resource');
    if (request.headers['x-identity-header'] !== 'secret of this host' || resource === null) {
      response.writeHead(400).end();
      return;
    }
    given += 1;
    const nowS = Math.floor(Date.now() / 1000);
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({
        access_token: token(resource, nowS),
        expires_on: String(nowS + LIFETIME_S),
        resource,
        token_type: 'Bearer',
      }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return {
    env: {
      IDENTITY_ENDPOINT: `http://127.0.0.1:${port}/msi/token`,
      IDENTITY_HEADER: 'secret of this host',
    },
    tokens: () => given,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Azurite looks at issuer, audience and times, not at the signature. */
function token(audience: string, nowS: number): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = {
    aud: audience,
    iss: 'https://sts.windows.net/00000000-0000-0000-0000-000000000000/',
    iat: nowS - 60,
    nbf: nowS - 60,
    exp: nowS + LIFETIME_S,
  };
  return `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claims)}.${part({})}`;
}
