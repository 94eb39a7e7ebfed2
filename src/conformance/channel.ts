/** Names the channel that carries the id of a run of the checks of a CPO's endpoint when the run has ended. */
export const CERTIFICATION_CHANNEL = 'scsp_certification';
