export { type ToolSettings, toolSettingsSchema } from './toolSettings.ts'
