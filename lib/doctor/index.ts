export { type DoctorOptions, type DoctorReport, examine } from './doctor.js';
export type { Finding, Level } from './finding.js';
export { realSurroundings, type Surroundings } from './surroundings.js';
