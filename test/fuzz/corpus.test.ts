import { readCorpus } from './corpus.ts';
import { TARGETS } from './targets.ts';

test.each(TARGETS)(
  'what fuzzing $name has kept is taken or refused as it must be',
  async (target) => {
    const inputs = [...readCorpus(target.name), ...target.seeds()];
    for (const input of inputs) {
      await target.run(input);
    }
    expect(inputs.length).toBeGreaterThan(3);
  },
);
