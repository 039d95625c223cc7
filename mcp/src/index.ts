export { createPaidTools, type PaidTools, type PaidToolsOptions } from './createPaidTools.ts'
export { type ToolSettings, toolSettingsSchema } from './toolSettings.ts'
