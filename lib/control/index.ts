/** A loop that watches numbers and acts on them. */
export {
  type Action,
  type ActionContext,
  attachProgram,
  callback,
  detachProgram,
  guardAgainst,
} from './action.ts';
export type { Clock } from './clock.ts';
export {
  type ActionOutcome,
  ControlLoop,
  type ControlLoopOptions,
  type ControlSource,
  type Decision,
} from './control-loop.ts';
export type { ControlRule } from './rule.ts';
