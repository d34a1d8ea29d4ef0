/** The version of this package. The build writes the module: see scripts/embed.js. */
export const VERSION: string
