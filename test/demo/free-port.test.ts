import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { freePort } from '../../demo/free-port.ts';

it('hands out ports that no outgoing connection is given, each of them once', async () => {
  const ports = await Promise.all(Array.from({ length: 200 }, () => freePort()));
  expect(new Set(ports).size).toBe(ports.length);
  expect(Math.max(...ports)).toBeLessThan(32_768);
});

it('hands out no port that a UDP socket has', async () => {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  const onlyThat = { first: port, last: port };
  await expect(freePort(onlyThat)).rejects.toThrow('no free port');
  socket.close();
  await once(socket, 'close');
  await expect(freePort(onlyThat)).resolves.toBe(port);
});
