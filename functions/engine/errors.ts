/** What went wrong, by consequence: a TransientError is healed by trying again, a PermanentError is not. */

export const errorCodes = [
  'notFound',
  'alreadyExists',
  'invalidArgument',
  'failedPrecondition',
  'conflict',
  'permissionDenied',
  'unauthenticated',
  'resourceExhausted',
  'unavailable',
  'deadlineExceeded',
  'cancelled',
  'unimplemented',
  'internal',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

export class TransientError extends Error {
  override readonly name = 'TransientError';
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export class PermanentError extends Error {
  override readonly name = 'PermanentError';
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
