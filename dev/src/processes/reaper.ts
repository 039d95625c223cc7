import { type ChildProcess, spawn } from 'node:child_process'

/**
 * A small shell process that outlives this one by a moment. It learns over its standard input what we started; when
 * that pipe closes, because we ended in whatever way (exit, crash, Ctrl-C, SIGKILL), it ends what is left: each process
 * group first by its own signal, after 3 seconds by SIGKILL, and then removes our temporary directories.
 */
const script = `
trap '' INT TERM HUP
set --
groups=' '
while read -r verb first rest; do
  case $verb in
    watch) groups="$groups$first:$rest " ;;
    forget)
      kept=' '
      for group in $groups; do [ "\${group%%:*}" = "$first" ] || kept="$kept$group "; done
      groups=$kept ;;
    remove) set -- "$@" "$rest" ;;
  esac
done
for group in $groups; do kill -s "\${group##*:}" -- "-\${group%%:*}" 2>/dev/null; done
tries=0
while [ $tries -lt 30 ]; do
  alive=''
  for group in $groups; do kill -s 0 -- "-\${group%%:*}" 2>/dev/null && alive=yes; done
  [ -z "$alive" ] && break
  tries=$((tries + 1))
  sleep 0.1
done
for group in $groups; do kill -s KILL -- "-\${group%%:*}" 2>/dev/null; done
[ $# -gt 0 ] && rm -rf -- "$@"
exit 0
`

let child: ChildProcess | undefined

function tell(line: string): void {
  if (!child) {
    // Detached: a Ctrl-C in the terminal must not reach it. Without our environment: it needs nothing but PATH.
    child = spawn('/bin/sh', ['-c', script], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
      env: { PATH: process.env.PATH },
    })
    child.on('error', (cause) => {
      throw new Error('Cannot run /bin/sh, which ends child processes when this one is gone.', { cause })
    })
    child.unref()
    // The socket of a pipe keeps the event loop alive on its own.
    const input = child.stdin as (NodeJS.WritableStream & { unref?: () => void }) | null
    input?.unref?.()
  }
  child.stdin?.write(`${line}\n`)
}

/** Guarantees that nothing we started outlives this process. Starts itself at its first use. */
export const reaper = {
  /** From now on the process group `groupId` ends with us: by `signal`, after 3 seconds by SIGKILL. */
  watch(groupId: number, signal: NodeJS.Signals): void {
    tell(`watch ${groupId} ${signal.replace(/^SIG/, '')}`)
  },
  /** The process group has ended; its number may soon be somebody else's. */
  forget(groupId: number): void {
    tell(`forget ${groupId}`)
  },
  /** From now on the directory is removed when we end. Removing it earlier is no problem. */
  remove(directory: string): void {
    tell(`remove - ${directory}`)
  },
}
