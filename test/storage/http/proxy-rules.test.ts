import { parseProxyRules, proxyEnvironment } from '../../../storage/http/proxy-rules.ts';

const PROXIES = { HTTP_PROXY: 'http://plain:3128', HTTPS_PROXY: 'secure.example:8080' };

function proxyFor(address: string, env: Record<string, string> = PROXIES): string | undefined {
  const { protocol, hostname, port } = new URL(address);
  const isHttps = protocol === 'https:';
  return parseProxyRules(proxyEnvironment(env))?.({
    isHttps,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (isHttps ? 443 : 80) : Number(port),
  })?.host;
}

test('each scheme has its proxy; an address without a scheme is one with http', () => {
  expect(proxyFor('https://s3.example')).toBe('secure.example:8080');
  expect(proxyFor('http://s3.example')).toBe('plain:3128');
  expect(proxyFor('https://s3.example', { HTTP_PROXY: 'http://plain:3128' })).toBeUndefined();
  expect(proxyFor('https://s3.example', {})).toBeUndefined();
});

test('names in small letters count where those in capitals are empty', () => {
  expect(proxyFor('https://a.example', { https_proxy: 'http://small:1' })).toBe('small:1');
  const both = { https_proxy: 'http://small:1', HTTPS_PROXY: 'http://capital:1' };
  expect(proxyFor('https://a.example', both)).toBe('capital:1');
  expect(proxyFor('https://a.example', { ...PROXIES, no_proxy: 'a.example' })).toBeUndefined();
});

test.each(['https://localhost', 'http://127.0.0.1:9000', 'http://127.8.7.6', 'https://[::1]:8443'])(
  '%s is never reached through a proxy',
  (address) => expect(proxyFor(address)).toBeUndefined(),
);

test.each([
  ['*', 'https://any.example', true],
  ['other.example, *', 'https://any.example', true],
  ['example.com', 'https://example.com', true],
  ['example.com', 'https://s3.eu.example.com', true],
  ['EXAMPLE.com', 'https://Example.COM.', true],
  ['example.com', 'https://notexample.com', false],
  ['.example.com', 'https://s3.example.com', true],
  ['.example.com', 'https://example.com', false],
  ['*.example.com', 'https://s3.example.com', true],
  ['*.example.com', 'https://example.com', false],
  ['example.com:443', 'https://example.com', true],
  ['example.com:8443', 'https://example.com', false],
  ['example.com:80', 'http://s3.example.com', true],
  [' other.example ,, example.com ', 'https://example.com', true],
  ['10.1.2.3', 'http://10.1.2.3:9000', true],
  ['10.1.2.3:9000', 'http://10.1.2.3:9000', true],
  ['10.1.2.3:9001', 'http://10.1.2.3:9000', false],
  ['10.1.2.3', 'http://10.1.2.30', false],
  ['10.0.0.0/8', 'http://10.200.1.1', true],
  ['10.0.0.0/8', 'http://11.0.0.1', false],
  ['10.0.0.0/99', 'http://10.0.0.1', false],
  ['fd00::/8', 'http://[fd12::1]:9000', true],
  ['[fd12::1]:9000', 'http://[fd12::1]:9000', true],
  ['fd12::1', 'http://[fd12::1]:9000', true],
  ['', 'https://example.com', false],
  ['example.com:', 'https://example.com', false],
])('with NO_PROXY=%j %s is reached directly: %s', (entry, address, isDirect) => {
  const proxy = proxyFor(address, { ...PROXIES, NO_PROXY: entry });
  expect(proxy === undefined).toBe(isDirect);
});

test.each([
  ['http://user:very-secret@', 'no address of a proxy'],
  ['http://', 'no address of a proxy'],
  ['socks5://user:very-secret@proxy:1080', 'of the kind socks5'],
])('%s is refused, without showing it', (value, text) => {
  let message = '';
  try {
    parseProxyRules(proxyEnvironment({ HTTPS_PROXY: value }));
  } catch (error) {
    message = String(error);
  }
  expect(message).toContain('HTTPS_PROXY');
  expect(message).toContain(text);
  expect(message).not.toContain('very-secret');
});
