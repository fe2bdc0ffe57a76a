import { tmpdir } from 'node:os';
import type { EngineSettings } from '../../agent/engine/types.ts';

/** Settings of an engine with short waits; give what the test is about. */
export function engineSettings(overrides: Partial<EngineSettings> = {}): EngineSettings {
  return {
    database: 'main',
    instance: 'a',
    run: 'runa',
    receiveOnly: false,
    onlyOnce: false,
    upstreamReaders: false,
    upstreamSnapshotMinIntervalMs: 10_000,
    forceSnapshotIntervalMs: 0,
    maxDeltas: 1000,
    maxDeltaFraction: 0.5,
    retryIntervalMs: 50,
    uploadMinIntervalMs: 0,
    uploadBurst: 20,
    persistIntervalMs: 30_000,
    shutdownTimeoutMs: 5_000,
    spoolMemoryBytes: 1 << 20,
    spoolFolder: tmpdir(),
    downloadConcurrency: 3,
    ...overrides,
  };
}
