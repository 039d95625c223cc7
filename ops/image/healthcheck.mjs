// Exit code 0 if the service of this container says that it is ready: for the image's HEALTHCHECK.
//
//   node healthcheck.mjs URL

const [url] = process.argv.slice(2)
const response = await fetch(url, { signal: AbortSignal.timeout(4_000) }).catch((error) => {
  console.error(`${url}: ${error.cause?.message ?? error.message}`)
})
if (response) console.log(await response.text())
process.exit(response?.ok ? 0 : 1)
