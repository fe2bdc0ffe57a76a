import { BlockList, isIP, isIPv6 } from 'node:net';

import { SyncError } from '../../protocol/errors.ts';

/** What the environment says about HTTP proxies; empty: nothing. */
export type ProxyEnvironment = {
  /** For http:// addresses. */
  readonly httpProxy: string;
  /** For https:// addresses. */
  readonly httpsProxy: string;
  /** What is reached directly, separated by commas. */
  readonly noProxy: string;
};

/** An address that is to be reached. */
type ProxyTarget = {
  readonly isHttps: boolean;
  /** Name or IP, as in a URL but without brackets. */
  readonly host: string;
  readonly port: number;
};

/** Tells the proxy for an address; undefined: none. */
export type ProxyRules = (target: ProxyTarget) => URL | undefined;

/** HTTP_PROXY, HTTPS_PROXY and NO_PROXY; where one is unset or empty, the same in small letters. */
export function proxyEnvironment(
  processEnv: Readonly<Record<string, string | undefined>>,
): ProxyEnvironment {
  const read = (name: string) => processEnv[name] || processEnv[name.toLowerCase()] || '';
  return {
    httpProxy: read('HTTP_PROXY'),
    httpsProxy: read('HTTPS_PROXY'),
    noProxy: read('NO_PROXY'),
  };
}

/**
 * The rules that the environment sets; undefined where it names no proxy. Throws CONFIG_INVALID for an address that is
 * none, without showing it: it may hold a password.
 *
 * As upstream: localhost and loopback addresses never go through a proxy. An entry of NO_PROXY is `*`, an IP, a
 * network (10.0.0.0/8), a domain with all below it (example.com), or only what is below it (.example.com,
 * *.example.com); all but networks may end in a port. Source: golang.org/x/net/http/httpproxy, which upstream's clients use.
 */
export function parseProxyRules(environment: ProxyEnvironment): ProxyRules | undefined {
  const http = parseProxy('HTTP_PROXY', environment.httpProxy);
  const https = parseProxy('HTTPS_PROXY', environment.httpsProxy);
  if (http === undefined && https === undefined) {
    return undefined;
  }
  const exceptions = environment.noProxy
    .split(',')
    .map((entry) => parseException(entry.trim().toLowerCase()))
    .filter((exception) => exception !== undefined);
  return ({ isHttps, host, port }) => {
    const name = host.toLowerCase().replace(/\.$/, '');
    const isDirect = isLoopback(name) || exceptions.some((exception) => exception(name, port));
    return isDirect ? undefined : isHttps ? https : http;
  };
}

function parseProxy(variable: string, text: string): URL | undefined {
  if (text === '') {
    return undefined;
  }
  const withScheme = /^[a-z0-9+.-]+:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (url === undefined || url.hostname === '') {
    throw new SyncError(
      'CONFIG_INVALID',
      `the environment variable ${variable} is no address of a proxy`,
      {
        hint: 'Write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, or unset it.',
      },
    );
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new SyncError(
      'CONFIG_INVALID',
      `the environment variable ${variable} names a proxy of the kind ${url.protocol.slice(0, -1)}, which cannot be used`,
      { hint: 'Use a proxy with http:// or https://, or unset it.' },
    );
  }
  return url;
}

type Exception = (name: string, port: number) => boolean;

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

function isLoopback(name: string): boolean {
  return name === 'localhost' || contains(LOOPBACK, name);
}

function contains(list: BlockList, name: string): boolean {
  return isIP(name) !== 0 && list.check(name, isIPv6(name) ? 'ipv6' : 'ipv4');
}

/** One entry of NO_PROXY; undefined where it says nothing. */
function parseException(entry: string): Exception | undefined {
  if (entry === '*') {
    return () => true;
  }
  const [, network = '', bits = ''] = /^(.+)\/(\d{1,3})$/.exec(entry) ?? [];
  if (isIP(network) !== 0 && Number(bits) <= (isIPv6(network) ? 128 : 32)) {
    const list = new BlockList();
    list.addSubnet(network, Number(bits), isIPv6(network) ? 'ipv6' : 'ipv4');
    return (name) => contains(list, name);
  }
  const { host, port } = splitPort(entry);
  const isPort = (asked: number) => port === undefined || port === asked;
  if (isIP(host) !== 0) {
    const list = new BlockList();
    list.addAddress(host, isIPv6(host) ? 'ipv6' : 'ipv4');
    return (name, asked) => isPort(asked) && contains(list, name);
  }
  const below = host.startsWith('*.') ? host.slice(1) : host;
  if (below === '' || below === '.') {
    return undefined;
  }
  return below.startsWith('.')
    ? (name, asked) => isPort(asked) && name.endsWith(below)
    : (name, asked) => isPort(asked) && (name === below || name.endsWith(`.${below}`));
}

/** HOST, HOST:PORT, [IPV6]:PORT or a plain IPv6 address. */
function splitPort(entry: string): { host: string; port: number | undefined } {
  const [, bracketed, plain, port] = /^(?:\[(.+)\]|([^:]*))(?::(\d+))?$/.exec(entry) ?? [];
  return {
    host: bracketed ?? plain ?? entry,
    port: port === undefined ? undefined : Number(port),
  };
}
