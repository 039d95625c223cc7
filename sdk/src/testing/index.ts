// For tests of what is built on the SDK: a server that speaks the gateway's wire format, and a grant for it.
export { startTestGateway, type TestGateway } from './startTestGateway.ts'
export { createTestGrant } from './testGrant.ts'
