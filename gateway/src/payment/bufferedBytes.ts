/** Bodies and answers up to this many bytes are buffered: to compare a retry, and to give its answer again. */
export const maxBufferedBytes = 64 * 1024
