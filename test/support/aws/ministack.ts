export { findMiniStack, startMiniStack, type MiniStack } from '../../../demo/ministack.ts';
