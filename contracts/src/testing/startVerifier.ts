import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import {
  type Address,
  concatHex,
  getAddress,
  getCreate2Address,
  type Hex,
  isAddressEqual,
  type PublicClient,
  zeroHash,
} from 'viem'
import { deterministicDeployer } from '../planDeployment.ts'
import { repositoryRoot, type StandardInput } from '../standardInput.ts'

/**
 * A source verifier for one chain: compiles what it is sent and compares that with the chain. Speaks the parts of
 * Etherscan's protocol (which is Blockscout's) and of Sourcify's that forge uses.
 */
export type TestVerifier = {
  url: string
  /** Contracts whose sources it has accepted. */
  verified: Address[]
  /** What it was sent: URLs and bodies. */
  requests: string[]
  stop: () => Promise<void>
}

type Submission = { address: Address; input: StandardInput; contractName: string; constructorArguments: Hex }

export async function startVerifier(publicClient: PublicClient): Promise<TestVerifier> {
  const verified: Address[] = []
  const requests: string[] = []
  const submit = async (submission: Submission): Promise<string | undefined> => {
    const problem = await compare(publicClient, submission)
    if (!problem) verified.push(submission.address)
    return problem
  }
  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const body = await text(request)
    requests.push(`${request.url}\n${body}`)
    const { status, answer } = url.pathname.startsWith('/v2/')
      ? await answerSourcify(request.method ?? '', url.pathname, body, submit)
      : { status: 200, answer: await answerEtherscan(new URLSearchParams(body || url.search), submit) }
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error(`Not a TCP address: ${address}`)
  return {
    url: `http://127.0.0.1:${address.port}/`,
    verified,
    requests,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

type Submit = (submission: Submission) => Promise<string | undefined>

/** https://docs.etherscan.io/api-endpoints/contracts#verify-source-code */
async function answerEtherscan(fields: URLSearchParams, submit: Submit): Promise<unknown> {
  const field = (name: string) => fields.get(name) ?? ''
  const refuse = (result: string) => ({ status: '0', message: 'NOTOK', result })
  if (field('action') === 'getabi') return refuse('Contract source code not verified')
  if (field('action') === 'checkverifystatus') return { status: '1', message: 'OK', result: 'Pass - Verified' }
  const problem = await submit({
    address: getAddress(field('contractaddress')),
    input: JSON.parse(field('sourceCode')),
    contractName: field('contractname'),
    constructorArguments: `0x${field('constructorArguments')}`,
  })
  return problem ? refuse(problem) : { status: '1', message: 'OK', result: 'ticket' }
}

/** https://sourcify.dev/server/api-docs */
async function answerSourcify(method: string, path: string, body: string, submit: Submit) {
  const last = path.split('/').at(-1) ?? ''
  if (method === 'GET') {
    if (path.startsWith('/v2/contract/')) return { status: 404, answer: { match: null, address: last } }
    return { status: 200, answer: { isJobCompleted: true, verificationId: last, contract: { match: 'match' } } }
  }
  const { stdJsonInput, contractIdentifier } = JSON.parse(body)
  const message = await submit({
    address: getAddress(last),
    input: stdJsonInput,
    contractName: contractIdentifier,
    constructorArguments: '0x',
  })
  return message
    ? { status: 400, answer: { customCode: 'no_match', message, errorId: last } }
    : { status: 202, answer: { verificationId: last } }
}

/** What is wrong, if anything is: creation code decides an address, unless another contract created this one. */
async function compare(
  publicClient: PublicClient,
  { address, input, contractName, constructorArguments }: Submission,
): Promise<string | undefined> {
  const [source = '', contract = ''] = contractName.split(':')
  const wanted = ['evm.bytecode.object', 'evm.deployedBytecode.object', 'evm.deployedBytecode.immutableReferences']
  const settings = { ...input.settings, outputSelection: { [source]: { [contract]: wanted } } }
  const output = JSON.parse(await compile(JSON.stringify({ ...input, settings })))
  const { bytecode, deployedBytecode } = output.contracts[source][contract].evm
  const initCode = concatHex([`0x${bytecode.object}`, constructorArguments])
  const create2 = getCreate2Address({ from: deterministicDeployer, salt: zeroHash, bytecode: initCode })
  if (isAddressEqual(create2, address)) return undefined

  const references: { start: number; length: number }[] = Object.values(
    deployedBytecode.immutableReferences,
  ).flat() as []
  const mask = (code: string) =>
    references.reduce(
      (masked, { start, length }) =>
        `${masked.slice(0, start * 2)}${'0'.repeat(length * 2)}${masked.slice((start + length) * 2)}`,
      code,
    )
  const code = ((await publicClient.getCode({ address })) ?? '0x').slice(2)
  return mask(code) === mask(deployedBytecode.object) ? undefined : `${contractName} compiles to other code`
}

function compile(input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const compiler = execFile(
      join(repositoryRoot, 'contracts/script/solc.cjs'),
      ['--standard-json'],
      { maxBuffer: 64 * 1024 * 1024 },
      (error, stdout) => (error ? reject(error) : resolve(stdout)),
    )
    compiler.stdin?.end(input)
  })
}
