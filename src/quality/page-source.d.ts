/** The page's program and style, made by the build of `src/page/`. */
export const pageProgram: string
/** SHA-256 of the program in base64. */
export const pageProgramHash: string
export const pageStyle: string
/** Licenses of what is in the program. */
export const pageNotices: string
