import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'

/** Keeps secrets of endpoints so that the database alone gives nothing away. */
export type SecretBox = {
  /** @param context what the secret belongs to: it opens for nothing else */
  seal(secret: string, context: string): string
  /** @throws when no key opens it, or it was changed */
  open(sealed: string, context: string): string
}

const version = 'v1'
const nonceBytes = 12
const tagBytes = 16

/**
 * AES-256-GCM. The first key seals and all of them open, so that a new key is put in front of the old one.
 *
 * @param keys 32 bytes each, at least one
 */
export function createSecretBox(keys: readonly Buffer[]): SecretBox {
  const byId = new Map(keys.map((key) => [idOf(key), key]))
  const [first] = keys
  if (!first || keys.some(({ length }) => length !== 32)) throw new Error('A secret box needs keys of 32 bytes.')
  return {
    seal(secret, context) {
      const nonce = randomBytes(nonceBytes)
      const cipher = createCipheriv('aes-256-gcm', first, nonce).setAAD(Buffer.from(context))
      const bytes = Buffer.concat([nonce, cipher.update(secret, 'utf8'), cipher.final(), cipher.getAuthTag()])
      return `${version}.${idOf(first)}.${bytes.toString('base64url')}`
    },
    open(sealed, context) {
      const [found, keyId = '', text = ''] = sealed.split('.')
      const key = byId.get(keyId)
      if (found !== version || !key) {
        throw new Error(`No key in WEBHOOK_ENCRYPTION_KEYS has the id ${keyId}; put the one it was sealed with back.`)
      }
      const bytes = Buffer.from(text, 'base64url')
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
      decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-tagBytes))
      return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]).toString('utf8')
    },
  }
}

/** Tells keys apart and says nothing about them. */
function idOf(key: Buffer): string {
  return createHash('sha256').update('webhook key id').update(key).digest('hex').slice(0, 8)
}
