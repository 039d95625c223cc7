/**
 * What a .dockerignore keeps out of the build, by Docker's rules: the last pattern that matches a path or a folder above
 * it decides, `!` lets through again, `**` is any number of folders, `*` anything within one name.
 *
 * @example
 * readDockerignore('*\n!src\n**\/*.md')('src/a.ts') // false
 */
export function readDockerignore(text: string): (path: string) => boolean {
  const rules = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const isException = line.startsWith('!')
      return { isException, pattern: toPattern(line.slice(isException ? 1 : 0)) }
    })
  return (path) => {
    const names = path.split('/')
    const paths = names.map((_, index) => names.slice(0, index + 1).join('/'))
    let isOut = false
    for (const { isException, pattern } of rules) {
      if (paths.some((one) => pattern.test(one))) isOut = !isException
    }
    return isOut
  }
}

function toPattern(glob: string): RegExp {
  const source = glob
    .replace(/^\/|\/$/g, '')
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*\*\/|\*\*|\*|\?/g, (wild) =>
      wild === '**/' ? '(?:[^/]+/)*' : wild === '**' ? '.*' : wild === '*' ? '[^/]*' : '[^/]',
    )
  return new RegExp(`^${source}$`)
}
