/** The outcome of one check; checks that are fine are not reported. */
export type Check = {
  readonly name: string;
  readonly level: 'warning' | 'error';
  readonly message: string;
};

/** Something that can be unwell. */
export interface HealthChecks {
  /** All that is not fine now. */
  checks(): Check[];
}
