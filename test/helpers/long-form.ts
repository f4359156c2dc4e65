// How much the tests do: "npm test" is over in minutes, the long form (HB_LONG=1, "npm run test:long") takes hours.
export const long = (process.env['HB_LONG'] ?? '') !== ''

/** Runs of a property: so many, and 40 times as many in the long form. */
export const runs = (short: number): number => (long ? 40 * short : short)
