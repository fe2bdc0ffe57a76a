import type { KeyOrder } from '../../../protocol/key-order.ts';
import type { TreeWalker } from './walker.ts';

/** What {@link joinWalks} calls; both walks stand on the nodes that are meant. */
interface JoinHandler {
  onOld(): void;
  onNew(): void;
  /** Both walks are at the same key. */
  onBoth(): void;
}

/** Keys of the old side that are held in memory at once where the walks are not in one known order. */
const HELD_KEYS = 50_000;

export type JoinOptions = {
  readonly handler: JoinHandler;
  /** The order in which both walks are; undefined: none that is known. */
  readonly comparator: KeyOrder | undefined;
};

/** Walks both from the start and pairs their nodes by key. Keeps nothing if both walks are in order. */
export function joinWalks(oldWalk: TreeWalker, newWalk: TreeWalker, options: JoinOptions): void {
  if (options.comparator === undefined) {
    joinUnordered(oldWalk, newWalk, options.handler);
  } else {
    joinOrdered(oldWalk, newWalk, options.handler, options.comparator);
  }
}

function joinOrdered(
  oldWalk: TreeWalker,
  newWalk: TreeWalker,
  handler: JoinHandler,
  comparator: KeyOrder,
): void {
  const a = oldWalk.node;
  const b = newWalk.node;
  oldWalk.restart();
  newWalk.restart();
  let hasOld = oldWalk.next();
  let hasNew = newWalk.next();
  while (hasOld && hasNew) {
    const order = comparator(a.buffer, a.keyStart, a.keyEnd, b.buffer, b.keyStart, b.keyEnd);
    if (order < 0) {
      handler.onOld();
      hasOld = oldWalk.next();
    } else if (order > 0) {
      handler.onNew();
      hasNew = newWalk.next();
    } else {
      handler.onBoth();
      hasOld = oldWalk.next();
      hasNew = newWalk.next();
    }
  }
  for (; hasOld; hasOld = oldWalk.next()) {
    handler.onOld();
  }
  for (; hasNew; hasNew = newWalk.next()) {
    handler.onNew();
  }
}

/**
 * Pairs by the keys' bytes through a hash map. Several passes, each over the keys of one hash class, so that memory
 * stays bounded: this is for databases with a comparator that only the application has, and for a DBI that was
 * dropped and created again with other flags, of any size.
 */
function joinUnordered(oldWalk: TreeWalker, newWalk: TreeWalker, handler: JoinHandler): void {
  let oldCount = 0;
  for (oldWalk.restart(); oldWalk.next();) {
    oldCount += 1;
  }
  const passes = Math.ceil(oldCount / HELD_KEYS) || 1;
  for (let pass = 0; pass < passes; pass += 1) {
    const positions = new Map<string, number>();
    for (oldWalk.restart(); oldWalk.next();) {
      if (hashKey(oldWalk) % passes === pass) {
        positions.set(keyText(oldWalk), oldWalk.position);
      }
    }
    for (newWalk.restart(); newWalk.next();) {
      if (hashKey(newWalk) % passes === pass) {
        const key = keyText(newWalk);
        const position = positions.get(key);
        if (position === undefined) {
          handler.onNew();
        } else {
          positions.delete(key);
          oldWalk.moveTo(position);
          handler.onBoth();
        }
      }
    }
    for (const position of positions.values()) {
      oldWalk.moveTo(position);
      handler.onOld();
    }
  }
}

function keyText({ node }: TreeWalker): string {
  return node.buffer.toString('latin1', node.keyStart, node.keyEnd);
}

/** FNV-1a. */
function hashKey({ node }: TreeWalker): number {
  let hash = 0x811c9dc5;
  for (let i = node.keyStart; i < node.keyEnd; i += 1) {
    hash = Math.imul(hash ^ node.buffer[i]!, 0x01000193);
  }
  return hash >>> 0;
}
