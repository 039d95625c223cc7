// What needs Node, kept apart so that the rest runs in a browser.
export { createFileStore } from './createFileStore.ts'
