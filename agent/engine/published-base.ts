import { SyncError } from '../../protocol/errors.ts';
import {
  isBasePosition,
  missingParts,
  publishedVector,
  type Manifest,
} from '../../protocol/manifest.ts';
import { parseObjectName } from '../../protocol/object-name.ts';
import type { VersionVector } from '../../protocol/version-vector.ts';
import { isStored } from '../../storage/is-stored.ts';
import { readManifest } from '../../storage/read-manifest.ts';
import type { Listing } from './listing.ts';
import type { ObjectMerger } from './object-merger.ts';
import type { SeenBase } from './proof/stored-proof.ts';
import type { EngineDeps } from './types.ts';
import type { VectorTracker } from './vector-tracker.ts';

/** What became of merging a published state. "lost": a part of it is gone or damaged. */
export type MergedBase = 'merged' | 'left out' | 'failed' | 'lost';

/** Thrown where the bucket has to be listed again: what was listed is not there any more. */
export class PassRestart extends Error {}

/** The published state of one database: its manifest, and what this LMDB lacks of it. */
export class PublishedBase {
  readonly #deps: EngineDeps;
  readonly #tracker: VectorTracker;
  readonly #merger: ObjectMerger;
  #manifest: { etag: string; manifest: Manifest } | undefined;
  #damage: SyncError | undefined;
  /** Why this host cannot take it. */
  #refused: SyncError | undefined;
  /** The object that is gone or damaged, of the manifest that was read last. */
  #lost: { readonly name: string; readonly error: SyncError } | undefined;

  constructor(deps: EngineDeps, parts: { tracker: VectorTracker; merger: ObjectMerger }) {
    this.#deps = deps;
    this.#tracker = parts.tracker;
    this.#merger = parts.merger;
  }

  /** Why it cannot be read: its manifest or a part of it is damaged or gone, or this host cannot take it. */
  get unreadable(): SyncError | undefined {
    return this.#damage ?? this.#lost?.error ?? this.#refused;
  }

  /** What the last pass has found out about it. */
  get seen(): SeenBase {
    if (this.#damage !== undefined) {
      return { kind: 'unknown' };
    }
    const manifest = this.#manifest?.manifest;
    if (manifest === undefined) {
      return { kind: 'none' };
    }
    const name = this.#lost?.name;
    return name === undefined ? { kind: 'stored', manifest } : { kind: 'lost', manifest, name };
  }

  /** The next look reads the manifest, whatever the listing shows. */
  forgetManifest(): void {
    this.#manifest = undefined;
  }

  /**
   * The manifest as of (or after) the listing. Where the listing was a single answer and shows the etag that was
   * read before, nothing can have been folded in between and the GET is saved. Likewise where nothing was ever published.
   */
  async readManifest(listing: Listing, signal: AbortSignal): Promise<Manifest | undefined> {
    const { store, settings, observer } = this.#deps;
    if (listing.singlePage) {
      if (listing.manifestEtag === undefined && !this.#wasPublished) {
        this.#noteNone();
        return undefined;
      }
      if (this.#manifest !== undefined && this.#manifest.etag === listing.manifestEtag) {
        return this.#manifest.manifest;
      }
    }
    try {
      const stored = await readManifest(store, settings.database, signal);
      if (stored === undefined) {
        this.#noteNone();
        return undefined;
      }
      const { etag, manifest } = stored;
      this.#manifest = { etag, manifest };
      this.#noteManifestSound();
      return manifest;
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== 'MESSAGE_INVALID') {
        throw error;
      }
      // One damaged object must not stop the others; but until it is mended no pass counts as complete.
      observer.stepFailed('manifest', error);
      this.#damage = error;
      return undefined;
    }
  }

  /** Something was: a listing without the manifest may lag, and only the storage's answer to its name says that it is gone. */
  get #wasPublished(): boolean {
    return this.#manifest !== undefined || [...this.#tracker.vector.keys()].some(isBasePosition);
  }

  #noteNone(): void {
    this.#manifest = undefined;
    this.#noteManifestSound();
    this.#noteStored();
  }

  #noteManifestSound(): void {
    this.#damage = undefined;
    this.#deps.observer.stepWorked('manifest');
  }

  /** Merges what this LMDB lacks of the published state. */
  async merge(
    manifest: Manifest,
    { listing, signal }: { readonly listing: Listing; readonly signal: AbortSignal },
  ): Promise<MergedBase> {
    const { base, level1 } = manifest;
    const names = missingParts(manifest, this.#tracker.vector);
    for (const name of [base, ...level1]) {
      // Those that are to be read are found out about then.
      if (!names.includes(name) && !listing.bases.has(name) && (await this.#isGone(name, signal))) {
        return this.#noteLost(name, { gone: true, signal });
      }
    }
    for (const [index, name] of names.entries()) {
      const isLast = index === names.length - 1;
      const merged = await this.#mergePart(name, { manifest, isLast, listing, signal });
      if (merged !== 'merged') {
        return merged;
      }
    }
    this.#tracker.notePublished(publishedVector(manifest));
    this.#noteStored();
    return 'merged';
  }

  async #mergePart(
    name: string,
    part: {
      readonly manifest: Manifest;
      readonly isLast: boolean;
      readonly listing: Listing;
      readonly signal: AbortSignal;
    },
  ): Promise<MergedBase> {
    const { manifest, isLast, listing, signal } = part;
    const parsed = parseObjectName(name);
    const etag = listing.bases.get(name);
    if (parsed === undefined) {
      return 'left out';
    }
    if (this.#merger.isQuarantined(name, etag)) {
      return this.#noteQuarantined(name, signal);
    }
    if (this.#merger.isLeftOut(name, etag)) {
      return 'left out';
    }
    const got = await this.#merger.fetch(parsed, signal).catch(() => undefined);
    if (got === undefined) {
      return 'failed';
    }
    if (got.kind !== 'fetched') {
      return got.kind === 'missing'
        ? this.#noteLost(name, { gone: true, signal })
        : this.#noteQuarantined(name, signal);
    }
    const { fetched } = got;
    // Only with the last part is the state whole; before that the vector must not move.
    const vector: VersionVector = isLast ? publishedVector(manifest) : new Map();
    const { rejoinBeforeNs } = manifest;
    const published = { stream: parsed.stream, seq: parsed.seq, vector, rejoinBeforeNs };
    try {
      const merged = await this.#merger.merge({ ...fetched, published }, signal);
      return merged === 'quarantined' ? await this.#noteQuarantined(name, signal) : 'merged';
    } catch (error) {
      if (signal.aborted) {
        throw error;
      }
      return isShortOfRoom(error) ? 'left out' : 'failed';
    } finally {
      await fetched.release();
    }
  }

  async #isGone(name: string, signal: AbortSignal): Promise<boolean> {
    const { store, observer } = this.#deps;
    try {
      return !(await isStored(store, name, signal));
    } catch (error) {
      if (signal.aborted) {
        throw error;
      }
      const object = parseObjectName(name);
      if (object !== undefined) {
        observer.loadFailed(object, error);
      }
    }
    return false;
  }

  /**
   * Only damage is a loss. What this host cannot take is stored all the same. One of another schema mode has nothing that
   * this host lacks: objects of its own mode are in no such base, so they are listed.
   */
  async #noteQuarantined(name: string, signal: AbortSignal): Promise<MergedBase> {
    const reason = this.#merger.quarantineReason(name);
    if (reason?.code === 'SNAPSHOT_CORRUPT') {
      return this.#noteLost(name, { gone: false, signal });
    }
    this.#noteStored();
    this.#refused = reason?.code === 'SNAPSHOT_OTHER_MODE' ? undefined : reason;
    return 'left out';
  }

  /** Throws to list again where somebody has published meanwhile: then nothing is lost. */
  async #noteLost(
    name: string,
    { gone, signal }: { readonly gone: boolean; readonly signal: AbortSignal },
  ): Promise<'lost'> {
    const { store, settings, observer } = this.#deps;
    const now = await readManifest(store, settings.database, signal);
    if (now?.etag !== this.#manifest?.etag) {
      throw new PassRestart('base');
    }
    const error = new SyncError(
      'SNAPSHOT_CORRUPT',
      `${name} is named by the manifest and is ${gone ? 'not in the bucket' : 'damaged'}`,
      {
        hint: 'Run the compactor, which makes a base of what is listed; find out what removed it.',
      },
    );
    this.#lost = { name, error };
    observer.stepFailed('base', error);
    return 'lost';
  }

  #noteStored(): void {
    this.#lost = undefined;
    this.#refused = undefined;
    this.#deps.observer.stepWorked('base');
  }
}

/** Such an object is known to the merger, which says when it is to be tried again. */
export function isShortOfRoom(error: unknown): boolean {
  return error instanceof SyncError && error.code === 'MAP_TOO_SMALL';
}
