import { afterEach, expect, test, vi } from 'vitest'
import { ensureChromium } from './ensureChromium.ts'

afterEach(() => {
  vi.unstubAllEnvs()
})

test('takes the program that CHROMIUM_PATH names', async () => {
  vi.stubEnv('CHROMIUM_PATH', process.execPath)
  const lines: string[] = []
  expect(await ensureChromium((line) => lines.push(line))).toEqual({ exitCode: 0 })
  expect(lines).toEqual([process.execPath])
})

test('fails in one sentence when CHROMIUM_PATH names no program, and installs nothing instead', async () => {
  vi.stubEnv('CHROMIUM_PATH', '/nowhere/chromium')
  const lines: string[] = []
  expect(await ensureChromium((line) => lines.push(line))).toEqual({ exitCode: 1 })
  expect(lines).toEqual([
    'CHROMIUM_PATH is /nowhere/chromium, which is no program: correct it, or unset it to use /usr/bin/chromium.',
  ])
})
