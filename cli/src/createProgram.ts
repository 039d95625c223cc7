import { Command, InvalidArgumentError, Option } from 'commander'
import { acknowledgeIncident, closeIncident } from './commands/actOnIncident.ts'
import { retrySettlement, writeOffSettlement } from './commands/actOnSettlement.ts'
import { listAudit } from './commands/listAudit.ts'
import { listIncidents } from './commands/listIncidents.ts'
import { listSettlements } from './commands/listSettlements.ts'
import { listUsageQuarantine } from './commands/listUsageQuarantine.ts'
import { reconcile } from './commands/reconcile.ts'
import { showIncident } from './commands/showIncident.ts'
import { showSettlement } from './commands/showSettlement.ts'
import { showTrace } from './commands/showTrace.ts'
import { loadConfig } from './config.ts'
import type { Context, ExitCode } from './context.ts'
import { createClient } from './createClient.ts'

export type ProgramDeps = { print(text: string): void; clock(): number; exit(code: ExitCode): void }

const states = [
  'waiting',
  'written-off',
  'all',
  'pending',
  'intended',
  'submitted',
  'included',
  'confirmed',
  'failed',
  'retried',
  'dead',
]
const incidentStates = ['open', 'acknowledged', 'closed', 'all']
const severities = ['info', 'warning', 'critical']
const reasons = ['grant_ended', 'voucher_invalid', 'funds_gone', 'payee_blocked', 'agreed', 'other']

/** The command `pb` with all that it can do. */
export function createProgram({ print, clock, exit }: ProgramDeps): Command {
  const program = new Command('pb')
    .description('What an operator does by hand, through the management API of a gateway.')
    .option('--url <url>', 'address of the gateway; PB_URL otherwise')
    .option('--key-file <path>', "file with the operator's API key; PB_KEY otherwise")
    .option('--json', 'print one JSON object instead of tables')
    .showHelpAfterError()

  /** Runs one command with what the options and the environment say. */
  async function run(work: (context: Context) => Promise<ExitCode>): Promise<void> {
    const { url, keyFile, json = false } = program.opts<{ url?: string; keyFile?: string; json?: boolean }>()
    const client = createClient(await loadConfig({ url, keyFile }))
    exit(await work({ client, json, print, clock }))
  }

  const settlements = program.command('settlements').description('settlements, and those that wait for an operator')
  settlements
    .command('list')
    .description('newest first; those that wait for an operator unless another state is asked for')
    .addOption(new Option('--state <state>', 'which').choices(states).default('waiting'))
    .option('--reason <reason>', 'of the newest failure, e.g. allowance_gone')
    .option('--grant <id>', 'of this grant')
    .option('--limit <count>', 'at most 100')
    .option('--cursor <cursor>', 'where the page before ended')
    .action((options) => run((context) => listSettlements(context, options)))
  settlements
    .command('show <id>')
    .description('one settlement, its claims, and what operators did to it')
    .action((id) => run((context) => showSettlement(context, id)))
  settlements
    .command('retry <id>')
    .description('make a dead settlement due again, with the newest vouchers')
    .requiredOption('--note <text>', 'why, for the audit')
    .action((id, options) => run((context) => retrySettlement(context, id, options)))
  settlements
    .command('write-off <id>')
    .description("give a dead settlement's debt up; the chain and the journal stay what they are")
    .addOption(new Option('--reason <reason>', 'of the closed list').choices(reasons).makeOptionMandatory())
    .requiredOption('--note <text>', 'why, for the audit')
    .action((id, options) => run((context) => writeOffSettlement(context, id, options)))

  const incidents = program.command('incidents').description('what the sentinel found')
  incidents
    .command('list')
    .description('newest first; those that nobody has seen unless another state is asked for')
    .addOption(new Option('--state <state>', 'which').choices(incidentStates).default('open'))
    .addOption(new Option('--severity <severity>', 'how much it matters').choices(severities))
    .option('--grant <id>', 'of this grant')
    .option('--limit <count>', 'at most 100')
    .option('--cursor <cursor>', 'where the page before ended')
    .action((options) => run((context) => listIncidents(context, options)))
  incidents
    .command('show <id>')
    .description('one incident, and everything that was done about it')
    .action((id) => run((context) => showIncident(context, id)))
  incidents
    .command('acknowledge <id>')
    .description('say that somebody has seen it')
    .option('--note <text>', 'for the audit')
    .action((id, options) => run((context) => acknowledgeIncident(context, id, options)))
  incidents
    .command('close <id>')
    .description('say that it is over; the grant stays as it is')
    .option('--note <text>', 'for the audit')
    .action((id, options) => run((context) => closeIncident(context, id, options)))

  program
    .command('reconcile')
    .description('compare vouchers, journal, meter, settlements and the chain; exit code 1 when they differ')
    .option('--grant <id>', 'of this grant alone')
    .option('--run <id>', 'show this reconciliation instead of asking for a new one')
    .option('--timeout <seconds>', 'how long to wait for it', parseSeconds, 600)
    .action(({ timeout, ...options }) => run((context) => reconcile(context, { ...options, timeoutSeconds: timeout })))

  program
    .command('usage')
    .description('what was charged, and what was not taken for a charge')
    .command('quarantine')
    .description('usage events that the journal refused')
    .command('list')
    .description('newest first')
    .option('--reason <reason>', 'for this alone, e.g. duplicate')
    .option('--limit <count>', 'at most 200')
    .option('--cursor <cursor>', 'where the page before ended')
    .action((options) => run((context) => listUsageQuarantine(context, options)))

  program
    .command('audit')
    .description('what operators did and what was refused, newest first')
    .option('--subject <id>', 'about this alone')
    .option('--limit <count>', 'at most 100')
    .option('--cursor <cursor>', 'where the page before ended')
    .action((options) => run((context) => listAudit(context, options)))

  program
    .command('trace <name>')
    .description(
      'from a request to the transaction that paid for it, by a request id, a trace id, a settlement, or the hash of a ' +
        'user operation or a transaction',
    )
    .action((name) => run((context) => showTrace(context, name)))

  // `pb reconcile --json` as well as `pb --json reconcile`.
  acceptJsonEverywhere(program)
  return program
}

function acceptJsonEverywhere(program: Command): void {
  for (const leaf of leavesOf(program)) {
    leaf.option('--json', 'print one JSON object instead of tables')
    leaf.on('option:json', () => program.setOptionValue('json', true))
  }
}

function leavesOf(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leavesOf)
}

function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 86_400) {
    throw new InvalidArgumentError('It must be a whole number of seconds, 1 to 86400.')
  }
  return seconds
}
