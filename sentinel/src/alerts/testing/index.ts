export { type BotServer, type SentMessage, startBotServer } from './startBotServer.ts'
export { type MailServer, type ReceivedMail, startMailServer } from './startMailServer.ts'
