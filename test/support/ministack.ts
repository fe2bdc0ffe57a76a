export {
  findMiniStack,
  startMiniStack,
  type MiniStack,
  type MiniStackOptions,
} from '../../agent/demo/ministack.ts';
