import { v7 } from 'uuid'

export type IdPrefix =
  | 'mer'
  | 'key'
  | 'svc'
  | 'ctl'
  | 'stl'
  | 'srq'
  | 'inc'
  | 'stp'
  | 'dcs'
  | 'ach'
  | 'lnk'
  | 'rul'
  | 'alw'
  | 'dry'
  | 'rhd'
  | 'stx'
  | 'aud'
  | 'rec'
  | 'uqr'
  | 'ows'
  | 'whep'
  | 'whev'
  | 'whdl'
  | 'xpm'
  | 'xtx'
  | 'idm'
  | 'req'

/**
 * A new id that sorts by creation: prefix and a version 7 UUID (RFC 9562).
 *
 * @example newId('mer') // 'mer_01981c4e5b7d7c8e9f3a6f0d2b4c1e55'
 */
export function newId(prefix: IdPrefix): string {
  return `${prefix}_${v7().replaceAll('-', '')}`
}
