// The operator's command, as the image has it.
import { main } from './cli/src/main.js'

await main(process.argv)
