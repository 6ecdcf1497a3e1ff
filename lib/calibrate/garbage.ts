/** Garbage of JavaScript, collected when it is asked for. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * A function that collects garbage now. V8 lets it pile up as long as there is memory, so that what a process needs looks as if it grew with what it has read; whoever promises constant memory
 * beside a model collects instead. The flag names the function in contexts that are made after it, and changes nothing else.
 */
export function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
