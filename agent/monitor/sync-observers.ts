import type { SyncObserver } from '../engine/observer.ts';

/** Hands every event of one database's engine to several observers, in their order. */
export class SyncObservers implements SyncObserver {
  readonly #observers: readonly Partial<SyncObserver>[];

  constructor(observers: readonly Partial<SyncObserver>[]) {
    this.#observers = observers;
  }

  detected(...event: Parameters<SyncObserver['detected']>): void {
    this.#observers.forEach((observer) => observer.detected?.(...event));
  }

  generated(...event: Parameters<SyncObserver['generated']>): void {
    this.#observers.forEach((observer) => observer.generated?.(...event));
  }

  stored(...event: Parameters<SyncObserver['stored']>): void {
    this.#observers.forEach((observer) => observer.stored?.(...event));
  }

  storeFailed(...event: Parameters<SyncObserver['storeFailed']>): void {
    this.#observers.forEach((observer) => observer.storeFailed?.(...event));
  }

  listed(...event: Parameters<SyncObserver['listed']>): void {
    this.#observers.forEach((observer) => observer.listed?.(...event));
  }

  listFailed(...event: Parameters<SyncObserver['listFailed']>): void {
    this.#observers.forEach((observer) => observer.listFailed?.(...event));
  }

  loaded(...event: Parameters<SyncObserver['loaded']>): void {
    this.#observers.forEach((observer) => observer.loaded?.(...event));
  }

  loadFailed(...event: Parameters<SyncObserver['loadFailed']>): void {
    this.#observers.forEach((observer) => observer.loadFailed?.(...event));
  }

  merged(...event: Parameters<SyncObserver['merged']>): void {
    this.#observers.forEach((observer) => observer.merged?.(...event));
  }

  stepFailed(...event: Parameters<SyncObserver['stepFailed']>): void {
    this.#observers.forEach((observer) => observer.stepFailed?.(...event));
  }

  stepWorked(...event: Parameters<SyncObserver['stepWorked']>): void {
    this.#observers.forEach((observer) => observer.stepWorked?.(...event));
  }

  passed(...event: Parameters<SyncObserver['passed']>): void {
    this.#observers.forEach((observer) => observer.passed?.(...event));
  }

  quarantined(...event: Parameters<SyncObserver['quarantined']>): void {
    this.#observers.forEach((observer) => observer.quarantined?.(...event));
  }

  refused(...event: Parameters<SyncObserver['refused']>): void {
    this.#observers.forEach((observer) => observer.refused?.(...event));
  }

  released(...event: Parameters<SyncObserver['released']>): void {
    this.#observers.forEach((observer) => observer.released?.(...event));
  }

  started(...event: Parameters<SyncObserver['started']>): void {
    this.#observers.forEach((observer) => observer.started?.(...event));
  }

  sharedNameSeen(...event: Parameters<SyncObserver['sharedNameSeen']>): void {
    this.#observers.forEach((observer) => observer.sharedNameSeen?.(...event));
  }
}
