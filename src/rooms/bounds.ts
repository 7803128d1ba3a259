// How long the steps of the cutover may take, where several files share a bound. All in ms.

/**
 * A replica that has not answered for so long takes no part in a handover; and one that has not heard of the log for so long keeps its
 * calls waiting until it has, as it may have missed a commit.
 */
export const answerMs = 500;
/**
 * The ids that are written into the log behind an outage go back this much further than its beginning: the bridge may have accepted calls then
 * that were under way before the log was found to fail.
 */
export const idsSlackMs = 15_000;
/** A call is answered by the bridge within its own timeout; then what waits for it goes on. */
export const lateLimitMs = 12_000;
