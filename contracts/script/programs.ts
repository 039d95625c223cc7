import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const modules = fileURLToPath(new URL('../../node_modules', import.meta.url))

/**
 * PATH with forge itself and the programs of npm packages before everything else. The script that forge's npm package has
 * for `.bin` ends with 0 whatever forge ends with.
 */
export const programsPath = [
  join(modules, `@foundry-rs/forge-${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}/bin`),
  join(modules, '.bin'),
  process.env.PATH ?? '',
].join(delimiter)
