export {
  findMiniStack,
  startMiniStack,
  type MiniStack,
  type MiniStackOptions,
} from '../../demo/ministack.ts';
