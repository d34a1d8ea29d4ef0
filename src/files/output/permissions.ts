/** Whose an output is, and who may do what with it. */
import type { BigIntStats } from 'node:fs'
import type { PositionedFile } from '../positioned-file.js'

/** Of a partial file: what will be for fewer eyes than all must not be for more before. */
export const PRIVATE_MODE = 0o600

/** How the system says that a process may not do something, or that the file system knows no owners and permissions. */
const NOT_POSSIBLE = ['EPERM', 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']

/**
 * Gives a file the owner, the group and the permissions of the one that it replaces. Where owner or group cannot be
 * given, the permissions do not let anybody in who was kept out.
 */
export async function permitAs(replaced: BigIntStats, file: PositionedFile): Promise<void> {
  // There they are lists of their own, which a file inherits from its folder.
  if (process.platform === 'win32') return
  const before = await file.stat()
  if (before.uid !== replaced.uid) await ifPossible(file.chown(Number(replaced.uid), -1))
  if (before.gid !== replaced.gid) await ifPossible(file.chown(-1, Number(replaced.gid)))
  // Looked at: not every layer below says that it did nothing.
  const { uid, gid } = await file.stat()
  const [isOwners, isGroups] = [uid === replaced.uid, gid === replaced.gid]

  const mode = Number(replaced.mode)
  const owner = (mode >> 6) & 7
  let [group, others] = [(mode >> 3) & 7, mode & 7]
  // The members of the new group were others, those of the old one are now.
  if (!isGroups) group = others = group & others
  // The old owner is of the group, or one of the others.
  if (!isOwners) [group, others] = [group & owner, others & owner]
  await ifPossible(file.chmod((owner << 6) | (group << 3) | others))
}

/** Gives a new file the permissions of any new file, where those of the input are stricter less: as `cp` does. */
export async function permitNew(file: PositionedFile, usual: BigIntStats, input: number | undefined): Promise<void> {
  if (process.platform === 'win32') return
  await ifPossible(file.chmod(Number(usual.mode) & 0o777 & (input ?? 0o777)))
}

async function ifPossible(change: Promise<void>): Promise<void> {
  try {
    await change
  } catch (error) {
    if (!NOT_POSSIBLE.includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
