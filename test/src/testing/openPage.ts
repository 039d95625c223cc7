import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type Browser, chromium, type Page } from 'playwright-core'

/** `browserPage.ts` as one script, whose exports are the global `streamPage`; `inputs` are the files that went into it. */
export async function bundlePage(): Promise<{ script: string; inputs: string[] }> {
  const bundle = await build({
    entryPoints: [fileURLToPath(new URL('browserPage.ts', import.meta.url))],
    bundle: true,
    write: false,
    metafile: true,
    platform: 'browser',
    conditions: ['browser'],
    target: 'es2022',
    format: 'iife',
    globalName: 'streamPage',
  })
  return { script: bundle.outputFiles[0]?.text ?? '', inputs: Object.keys(bundle.metafile.inputs) }
}

const launchArgs = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
]

/** The page at a URL in a Chromium of its own. `errors`: what went wrong in it beside what it returned. */
export async function openPage(url: string): Promise<{ page: Page; browser: Browser; errors: string[] }> {
  const executablePath = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'
  const browser = await chromium.launch({ executablePath, args: launchArgs, timeout: 120_000 })
  const errors: string[] = []
  const page = await browser.newPage()
  page.on('pageerror', (error) => errors.push(error.message))
  await page.goto(url)
  return { page, browser, errors }
}
