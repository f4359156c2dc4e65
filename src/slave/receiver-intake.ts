// What a slave does with the bytes of its master's log: checks every block against the history that it holds, and
// appends what continues it. Nothing that was not checked reaches the log.
import { HotBackupError } from '../errors.ts'
import type { BlockChain, BlockFault } from '../log/chain.ts'
import { decodeSegmentHeader, encodeSegmentHeader, segmentHeaderBytes } from '../log/segment.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Blocks } from '../wire/messages/blocks.ts'
import { positionText } from '../wire/position-text.ts'

export type IntakeLog = Pick<LogWriter, 'chainAtEnd' | 'appendSegment' | 'appendBlocks'>

/**
 * `appended`: the log is longer. `duplicate`: it held all of it already. `missing`: something before it has not come.
 * `damaged`: some of it is no valid block; what came before that was appended.
 */
export type Verdict = 'appended' | 'duplicate' | 'missing' | 'damaged'

export class Intake {
  readonly #log: IntakeLog
  /** Stands where the log ends, appended and not yet durable blocks included. */
  readonly #chain: BlockChain

  constructor(log: IntakeLog) {
    this.#log = log
    this.#chain = log.chainAtEnd()
  }

  /**
   * Throws ERR_LINK_DIVERGED or ERR_LINK_FOREIGN for a segment that cannot follow, ERR_LOG_VERSION or ERR_LOG_CORRUPT
   * for one that cannot be read, and what the log throws.
   */
  segment(headerBytes: Uint8Array): Verdict {
    const name = "the master's segment"
    const header = decodeSegmentHeader(headerBytes, name)
    const chain = this.#chain
    if (header.firstTxn <= chain.txn) return 'duplicate'
    if (header.firstTxn > chain.txn + 1) return 'missing'
    if (chain.segment !== null && chain.offset === segmentHeaderBytes) {
      // A connection ended between a header and its first block. The header comes again, or that of a master which
      // was promoted meanwhile, and replaces it.
      if (encodeSegmentHeader(chain.segment).equals(headerBytes)) return 'duplicate'
    }
    try {
      chain.enterSegment(header, name)
    } catch (error) {
      throw foreign(error, chain)
    }
    this.#log.appendSegment(header, headerBytes)
    return 'appended'
  }

  /** Throws ERR_LINK_DIVERGED for valid blocks of another history, ERR_LOG_VERSION, and what the log throws. */
  blocks({ segmentFirstTxn, offset, run }: Blocks): Verdict {
    const chain = this.#chain
    const segment = chain.segment
    if (segment === null || segmentFirstTxn > segment.firstTxn) return 'missing'
    if (segmentFirstTxn < segment.firstTxn) return 'duplicate'
    if (offset > chain.offset) return 'missing'
    const start = chain.offset - offset
    if (start >= run.length) return 'duplicate'
    let end = start
    let fault: BlockFault | null = null
    let time = 0
    while (end < run.length) {
      fault = chain.accept(run, end, run.length)
      if (fault !== null) break
      end += chain.block.length
      time = chain.block.time
    }
    if (end > start) this.#log.appendBlocks(run.subarray(start, end), chain.position, time)
    return fault === null ? 'appended' : this.#faulty(fault)
  }

  #faulty(fault: BlockFault): Verdict {
    switch (fault) {
      case 'end':
      case 'short':
      case 'magic':
      case 'length':
      case 'crc':
        return 'damaged'
      case 'version': {
        const { version } = this.#chain.block
        throw new HotBackupError('ERR_LOG_VERSION', `the master's blocks have version ${version}`)
      }
      case 'chain':
      case 'number':
      case 'database':
      case 'timeline': {
        const at = positionText(this.#chain.position)
        const text = `this slave holds ${at}; the block that the master sent has another ${fault}`
        throw new HotBackupError('ERR_LINK_DIVERGED', text)
      }
      default:
        return fault satisfies never
    }
  }
}

/** What a chain says of a segment, as an error of the link. */
function foreign(error: unknown, chain: BlockChain): unknown {
  if (!(error instanceof HotBackupError) || error.code !== 'ERR_LOG_FOREIGN') return error
  const text = `this slave holds ${positionText(chain.position)}; ${error.message}`
  return new HotBackupError('ERR_LINK_DIVERGED', text, error.place, error)
}
