export * from './startOtlpReceiver.ts'
