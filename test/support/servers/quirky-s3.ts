import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';

/** What services that call themselves S3-compatible do otherwise than S3. */
export type S3Quirk =
  /** 501 to every conditional write: Backblaze B2. */
  | 'conditions-501'
  /** 400 InvalidArgument to every conditional write. */
  | 'conditions-400'
  /** Conditions are accepted and not looked at. */
  | 'conditions-ignored'
  /** 304 where 412 is due: MinIO until 2024. */
  | 'refusal-304'
  /** ETags are marked as weak, and weak ones never match: a proxy that compresses. */
  | 'weak-etags'
  | 'bare-etags'
  /** 200 with a web page to everything. */
  | 'web-page'
  /** The same, as browsers take it and XML parsers do not. */
  | 'sloppy-web-page'
  /** 200 with nothing to a listing. */
  | 'empty-listing'
  /** Every third PUT is stored and its connection ended. */
  | 'lost-answers'
  /** Every second PUT is stored and answered 500. */
  | 'stored-500'
  | 'ranges-ignored'
  /** No sizes in answers to GET. */
  | 'chunked-get'
  | 'small-pages';

/** An S3 service in memory. */
export type QuirkyS3 = {
  /** http://127.0.0.1:PORT */
  readonly url: string;
  /** May be changed at any time. */
  readonly quirks: Set<S3Quirk>;
  /** Bytes by key. */
  readonly objects: ReadonlyMap<string, Buffer>;
  stop(): Promise<void>;
};

type Stored = { readonly bytes: Buffer; readonly etag: string };

const WEB_PAGE = '<!DOCTYPE html><html><body>Sign in to the network</body></html>';
const SLOPPY_WEB_PAGE =
  '<!DOCTYPE html>\n<title>Sign in</title><br><p>Please<p>sign in & wait<img src=x>';

/** Starts one on a free port, with one bucket of any name. */
export async function startQuirkyS3(quirks: readonly S3Quirk[] = []): Promise<QuirkyS3> {
  const service = new Service(new Set(quirks));
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => service.answer(request, response, Buffer.concat(chunks)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    quirks: service.quirks,
    get objects() {
      return new Map([...service.stored].map(([key, { bytes }]) => [key, bytes]));
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

class Service {
  readonly quirks: Set<S3Quirk>;
  readonly stored = new Map<string, Stored>();
  readonly #uploads = new Map<string, Map<number, Buffer>>();
  #writes = 0;

  constructor(quirks: Set<S3Quirk>) {
    this.quirks = quirks;
  }

  answer(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
    const url = new URL(request.url ?? '', 'http://service');
    const [, , ...rest] = url.pathname.split('/');
    const key = decodeURIComponent(rest.join('/'));
    const page = this.quirks.has('web-page') ? WEB_PAGE : SLOPPY_WEB_PAGE;
    if (this.quirks.has('web-page') || this.quirks.has('sloppy-web-page')) {
      response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    } else if (key === '') {
      this.#list(url, response);
    } else if (request.method === 'PUT' && !url.searchParams.has('uploadId')) {
      this.#put(request, response, { key, body });
    } else if (request.method === 'DELETE' && !url.searchParams.has('uploadId')) {
      this.stored.delete(key);
      response.writeHead(204).end();
    } else if (request.method === 'GET' || request.method === 'HEAD') {
      this.#get(request, response, key);
    } else {
      this.#multipart(request, response, { key, body, url });
    }
  }

  #list(url: URL, response: ServerResponse): void {
    if (this.quirks.has('empty-listing')) {
      response.writeHead(200, { 'content-type': 'application/xml' }).end();
      return;
    }
    const query = url.searchParams;
    const prefix = query.get('prefix') ?? '';
    const after = query.get('continuation-token') ?? query.get('start-after') ?? '';
    const most = this.quirks.has('small-pages') ? 2 : Number(query.get('max-keys') ?? 1000);
    const keys = [...this.stored.keys()]
      .filter(
        (key) => key.startsWith(prefix) && Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0,
      )
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const page = keys.slice(0, most);
    const contents = page.map((key) => {
      const stored = this.stored.get(key);
      const size = stored?.bytes.length ?? 0;
      return `<Contents><Key>${xml(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>${xml(this.#shown(stored?.etag ?? ''))}</ETag><Size>${size}</Size></Contents>`;
    });
    const isTruncated = keys.length > page.length;
    const token = isTruncated
      ? `<NextContinuationToken>${xml(page.at(-1) ?? '')}</NextContinuationToken>`
      : '';
    response
      .writeHead(200, { 'content-type': 'application/xml' })
      .end(
        `<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>${isTruncated}</IsTruncated>${contents.join('')}${token}</ListBucketResult>`,
      );
  }

  #put(
    request: IncomingMessage,
    response: ServerResponse,
    { key, body }: { readonly key: string; readonly body: Buffer },
  ): void {
    if (this.#refused(request, response, key)) {
      return;
    }
    const etag = this.#store(key, body);
    this.#writes += 1;
    if (this.quirks.has('lost-answers') && this.#writes % 3 === 0) {
      request.socket.destroy();
    } else if (this.quirks.has('stored-500') && this.#writes % 2 === 0) {
      fail(response, 500, 'InternalError');
    } else {
      response.writeHead(200, { etag: this.#shown(etag) }).end();
    }
  }

  #get(request: IncomingMessage, response: ServerResponse, key: string): void {
    const found = this.stored.get(key);
    if (found === undefined) {
      fail(response, 404, 'NoSuchKey');
      return;
    }
    const { bytes } = found;
    const etag = this.#shown(found.etag);
    const range = /^bytes=0-(\d+)$/.exec(request.headers.range ?? '');
    if (range !== null && !this.quirks.has('ranges-ignored')) {
      if (bytes.length === 0) {
        fail(response, 416, 'InvalidRange');
        return;
      }
      const part = bytes.subarray(0, Number(range[1]) + 1);
      response
        .writeHead(206, {
          etag,
          'content-length': part.length,
          'content-range': `bytes 0-${part.length - 1}/${bytes.length}`,
        })
        .end(part);
      return;
    }
    const length = this.quirks.has('chunked-get') ? {} : { 'content-length': bytes.length };
    response.writeHead(200, { etag, ...length }).end(request.method === 'HEAD' ? undefined : bytes);
  }

  #multipart(
    request: IncomingMessage,
    response: ServerResponse,
    { key, body, url }: { readonly key: string; readonly body: Buffer; readonly url: URL },
  ): void {
    const id = url.searchParams.get('uploadId') ?? `u${this.#uploads.size + 1}`;
    const parts = this.#uploads.get(id) ?? new Map<number, Buffer>();
    this.#uploads.set(id, parts);
    if (request.method === 'PUT') {
      parts.set(Number(url.searchParams.get('partNumber')), body);
      response.writeHead(200, { etag: this.#shown(etagOf(body)) }).end();
    } else if (request.method === 'DELETE') {
      this.#uploads.delete(id);
      response.writeHead(204).end();
    } else if (url.searchParams.has('uploads')) {
      response.end(
        `<?xml version="1.0"?><InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
      );
    } else if (!this.#refused(request, response, key)) {
      const inOrder = [...parts].sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
      const etag = this.#store(key, Buffer.concat(inOrder));
      response.end(
        `<?xml version="1.0"?><CompleteMultipartUploadResult><ETag>${xml(this.#shown(etag))}</ETag></CompleteMultipartUploadResult>`,
      );
    }
  }

  /** True where the condition of a write was answered, because it does not hold or cannot be. */
  #refused(request: IncomingMessage, response: ServerResponse, key: string): boolean {
    const { 'if-none-match': none, 'if-match': match } = request.headers;
    if ((none === undefined && match === undefined) || this.quirks.has('conditions-ignored')) {
      return false;
    }
    if (this.quirks.has('conditions-501')) {
      fail(response, 501, 'NotImplemented');
      return true;
    }
    if (this.quirks.has('conditions-400')) {
      fail(response, 400, 'InvalidArgument');
      return true;
    }
    const found = this.stored.get(key);
    const holds =
      none === undefined
        ? found !== undefined && match?.replaceAll('"', '') === found.etag
        : found === undefined;
    if (holds) {
      return false;
    }
    if (this.quirks.has('refusal-304')) {
      response.writeHead(304).end();
    } else {
      fail(response, 412, 'PreconditionFailed');
    }
    return true;
  }

  #store(key: string, bytes: Buffer): string {
    const etag = etagOf(bytes);
    this.stored.set(key, { bytes, etag });
    return etag;
  }

  #shown(etag: string): string {
    if (this.quirks.has('bare-etags')) {
      return etag;
    }
    return this.quirks.has('weak-etags') ? `W/"${etag}"` : `"${etag}"`;
  }
}

function etagOf(bytes: Buffer): string {
  return createHash('md5').update(bytes).digest('hex');
}

function fail(response: ServerResponse, status: number, code: string): void {
  response
    .writeHead(status, { 'content-type': 'application/xml' })
    .end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`);
}

function xml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
