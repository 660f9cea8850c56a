/**
 * What happens next? The life of a rollout as a statechart: states, arrows, and the names of claims and updates.
 * Claims are in guards.ts, updates in operations.ts, shares.ts, people.ts and endings.ts. `meta.owes` names the one thing that
 * a state owes the world; the engine does it for as long as the state lasts, so that a crash is healed by doing it again.
 */
import { assign, setup } from 'xstate';
import { beginContext, type Context, type RolloutInput } from './context.ts';
import type { RolloutEvent } from './events.ts';
import * as guards from './guards.ts';
import { machineLimits } from './limits.ts';
import type { Moment } from './moment.ts';
import * as endings from './endings.ts';
import * as operations from './operations.ts';
import * as people from './people.ts';
import * as shares from './shares.ts';

/** `read…`, `poll` and `watch` only look; the others change the world. */
export type Duty =
  | 'readWorld'
  | 'holdReplicas'
  | 'deploy'
  | 'readEndpoint'
  | 'shift'
  | 'watch'
  | 'restore'
  | 'clean'
  | 'retire';

const updates = { ...operations, ...shares, ...people, ...endings };
type Actions = { [Name in keyof typeof updates]: ReturnType<typeof update> };

const update = (change: (moment: Moment) => Partial<Context>) =>
  assign<Context, RolloutEvent, undefined, RolloutEvent, never>(({ context, event }) => change({ context, event }));
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- fromEntries forgets the names that its input had
const actions = Object.fromEntries(Object.entries(updates).map(([name, change]) => [name, update(change)])) as Actions;

export const rolloutMachine = setup({
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- XState reads these as types and never as values
  types: { context: {} as Context, events: {} as RolloutEvent, input: {} as RolloutInput, meta: {} as { owes: Duty } },
  guards,
  actions,
}).createMachine({
  id: 'rollout',
  version: '1',
  options: { maxIterations: machineLimits.iterationsMax },
  type: 'parallel',
  context: ({ input }) => beginContext(input),
  states: {
    progress: {
      initial: 'forward',
      states: {
        forward: {
          initial: 'preparing',
          always: [
            { guard: 'isUnhealthy', target: 'rollingBack', actions: 'blameVerdict' },
            { guard: 'evidenceRanOutThenRollBack', target: 'rollingBack', actions: 'blameSilence' },
          ],
          on: {
            'operator.aborted': { target: 'rollingBack', actions: 'blameOperator' },
            'incident.opened': { guard: 'incidentRollsBack', target: 'rollingBack', actions: 'blameIncident' },
            'blessing.newer': { guard: 'policyReplaces', target: 'rollingBack', actions: 'blameNewer' },
            'evidence.observed': { guard: 'isNewEvidence', actions: 'weigh' },
            'past.observed': { guard: 'isNewPast', actions: 'rememberPast' },
            'operator.resumed': { guard: 'hasForeign', actions: 'adoptFound' },
            'operator.promoted': { guard: 'hasForeign', actions: 'adoptFound' },
            'operator.promotedFully': { guard: 'hasForeign', actions: 'adoptFound' },
          },
          states: {
            preparing: {
              initial: 'inspecting',
              always: {
                guard: 'preparationTimedOut',
                target: '#rollingBack',
                actions: 'blameDeadline',
              },
              states: {
                inspecting: {
                  meta: { owes: 'readWorld' },
                  on: {
                    'endpoint.observed': [
                      { guard: 'alreadyServes', target: '#promoted', actions: 'noteAlreadyServes' },
                      { target: 'holdingReplicas', actions: 'rememberStable' },
                    ],
                    'target.missing': { target: '#rollingBack', actions: 'blameMissing' },
                  },
                },
                holdingReplicas: {
                  meta: { owes: 'holdReplicas' },
                  always: [
                    { guard: 'hasHeldReplicas', target: '#deploying', actions: 'noteOrdered' },
                    { guard: 'removalGivenUp', actions: 'giveUpResize' },
                  ],
                  on: {
                    'resize.started': { actions: 'noteOperation' },
                    'resize.refused': [
                      { guard: 'isRetryable', actions: 'noteRefusal' },
                      { guard: 'runsNothing', actions: 'giveUpResize' },
                    ],
                    'operation.finished': { guard: 'isOurOperation', actions: 'noteFinished' },
                  },
                },
              },
            },
            deploying: {
              id: 'deploying',
              meta: { owes: 'deploy' },
              always: { guard: 'deployTimedOut', target: '#rollingBack', actions: 'blameDeadline' },
              on: {
                'deploy.started': { actions: 'noteOperation' },
                'deploy.found': { target: 'warming', actions: 'noteDeployFound' },
                'deploy.refused': [
                  { guard: 'isRetryable', actions: 'noteRefusal' },
                  { target: '#rollingBack', actions: 'blameRefusal' },
                ],
                'operation.finished': [
                  { guard: 'operationSucceeded', target: 'warming', actions: 'noteFinished' },
                  { guard: 'operationMayBeRetried', actions: 'noteFinished' },
                  { guard: 'isOurOperation', target: '#rollingBack', actions: 'blameOperation' },
                ],
              },
            },
            warming: {
              id: 'warming',
              meta: { owes: 'readEndpoint' },
              always: [
                { guard: 'mayTakeOnlyStep', target: '#promoting', actions: 'takeLastStep' },
                { guard: 'mayTakeFirstStep', target: 'moving', actions: 'takeNextStep' },
                { guard: 'isHeldByFreeze', actions: 'noteHeld' },
                { guard: 'deployTimedOut', target: '#rollingBack', actions: 'blameDeadline' },
              ],
              on: {
                'endpoint.observed': { actions: 'noteReady' },
                'operator.promoted': [
                  { guard: 'isReadyAndNextIsLast', target: '#promoting', actions: 'takeLastStep' },
                  { guard: 'isReady', target: 'moving', actions: 'takeNextStep' },
                ],
                'operator.promotedFully': { guard: 'isReady', target: '#promoting', actions: 'takeLastStep' },
              },
            },
            moving: {
              id: 'moving',
              meta: { owes: 'shift' },
              initial: 'shifting',
              always: { guard: 'shiftTimedOut', target: '#rollingBack', actions: 'blameDeadline' },
              on: {
                'traffic.refused': [
                  { guard: 'isRetryable', actions: 'noteRefusal' },
                  { target: '#rollingBack', actions: 'blameRefusal' },
                ],
                'operator.paused': { target: '.shifting', actions: 'stepBack' },
                'incident.opened': [
                  { guard: 'incidentRollsBack', target: '#rollingBack', actions: 'blameIncident' },
                  { guard: 'incidentPauses', target: '.shifting', actions: 'stepBack' },
                ],
              },
              states: {
                shifting: {
                  on: {
                    'traffic.applied': [
                      { guard: 'isBackAtStart', target: '#warming', actions: 'noteEffect' },
                      { guard: 'isCurrentGeneration', target: '#analysing', actions: 'noteEffect' },
                    ],
                    'operator.promotedFully': { target: 'promoting', actions: 'takeLastStep' },
                  },
                },
                promoting: {
                  id: 'promoting',
                  on: {
                    'traffic.applied': [
                      { guard: 'isFirstAndCurrent', target: '#promoted', actions: ['noteEffect', 'notePromoted'] },
                      { guard: 'isCurrentGeneration', target: '#observing', actions: 'noteEffect' },
                    ],
                  },
                },
              },
            },
            analysing: {
              id: 'analysing',
              meta: { owes: 'watch' },
              initial: 'watching',
              on: {
                'operator.promoted': [
                  { guard: 'nextIsLast', target: '#promoting', actions: 'takeLastStep' },
                  { target: 'moving', actions: 'takeNextStep' },
                ],
                'operator.promotedFully': { target: '#promoting', actions: 'takeLastStep' },
                'operator.resumed': { guard: 'hasForeign', target: 'moving', actions: 'adoptFound' },
              },
              states: {
                watching: {
                  always: [
                    { guard: 'mustAwaitApproval', target: 'awaitingApproval' },
                    { guard: 'mayTakeLastStep', target: '#promoting', actions: 'takeLastStep' },
                    { guard: 'mayTakeNextStep', target: '#moving', actions: 'takeNextStep' },
                    { guard: 'isHeldByFreeze', actions: 'noteHeld' },
                  ],
                  on: { 'operator.approved': { actions: 'noteApproval' } },
                },
                awaitingApproval: {
                  on: { 'operator.approved': { target: 'watching', actions: 'noteApproval' } },
                },
              },
            },
            observing: {
              id: 'observing',
              initial: 'holding',
              always: { guard: 'isSuspected', target: 'moving', actions: 'stepBackToCompare' },
              on: {
                'operator.resumed': { guard: 'hasForeign', target: '#promoting', actions: 'adoptFound' },
                'operator.promoted': { guard: 'hasForeign', target: '#promoting', actions: 'adoptFound' },
                'operator.promotedFully': { guard: 'hasForeign', target: '#promoting', actions: 'adoptFound' },
              },
              states: {
                holding: {
                  meta: { owes: 'watch' },
                  always: { guard: 'mayBePromoted', target: 'keeping', actions: 'notePromoted' },
                  on: {
                    'operator.promoted': [
                      { guard: 'hasForeign', target: '#promoting', actions: 'adoptFound' },
                      { target: 'keeping', actions: 'notePromoted' },
                    ],
                  },
                },
                keeping: {
                  meta: { owes: 'watch' },
                  always: { guard: 'keepIsOver', target: 'retiring', actions: 'noteRetiring' },
                  on: { 'blessing.newer': [{ guard: 'mayRetire', target: 'retiring', actions: 'noteRetiring' }, {}] },
                },
                retiring: {
                  meta: { owes: 'retire' },
                  always: [
                    { guard: 'stableIsRetired', target: '#promoted' },
                    { guard: 'operationTimedOut', actions: 'forgetOperation' },
                    { guard: 'removalGivenUp', actions: 'giveUpRemoval' },
                  ],
                  on: {
                    'removal.started': { actions: 'noteOperation' },
                    'removal.found': { actions: 'noteRemoved' },
                    'removal.refused': { actions: 'noteRefusal' },
                    'removal.serving': [
                      { guard: 'canaryLostItsShare', target: '#rollingBack', actions: 'blameTakenBack' },
                      { actions: 'noteServing' },
                    ],
                    'operation.finished': { guard: 'isOurOperation', actions: 'noteFinished' },
                    'operator.aborted': { actions: 'noteTooLate' },
                    'blessing.newer': {},
                  },
                },
              },
            },
          },
        },
        rollingBack: {
          id: 'rollingBack',
          entry: 'desireStable',
          initial: 'restoring',
          // An order given before the way back began may be answered after it.
          on: { 'deploy.started': { actions: 'noteOperation' } },
          states: {
            restoring: {
              meta: { owes: 'restore' },
              always: { guard: 'neverShifted', target: 'cleaning' },
              on: {
                'traffic.applied': { guard: 'isCurrentGeneration', target: 'cleaning', actions: 'noteEffect' },
                'traffic.refused': [
                  { guard: 'endpointIsGone', target: 'cleaning', actions: 'noteGone' },
                  { actions: 'noteRefusal' },
                ],
              },
            },
            cleaning: {
              meta: { owes: 'clean' },
              always: [
                { guard: { type: 'endsAs', params: { state: 'rolledBack' } }, target: '#rolledBack' },
                { guard: { type: 'endsAs', params: { state: 'aborted' } }, target: '#aborted' },
                { guard: { type: 'endsAs', params: { state: 'superseded' } }, target: '#superseded' },
                { guard: { type: 'endsAs', params: { state: 'failed' } }, target: '#failed' },
                { guard: 'operationTimedOut', actions: 'forgetOperation' },
                { guard: 'removalGivenUp', actions: 'giveUpRemoval' },
              ],
              on: {
                'operation.cancelled': { actions: 'noteCancelled' },
                'removal.started': { actions: 'noteOperation' },
                'removal.found': { actions: 'noteRemoved' },
                'removal.refused': { actions: 'noteRefusal' },
                'removal.serving': { target: 'restoring', actions: 'desireStableAgain' },
                'resize.started': { actions: 'noteOperation' },
                'resize.refused': [
                  { guard: 'isRetryable', actions: 'noteRefusal' },
                  { guard: 'runsNothing', actions: 'giveUpResize' },
                ],
                'operation.finished': { guard: 'isOurOperation', actions: 'noteFinished' },
                'blessing.newer': { actions: 'hurry' },
              },
            },
          },
        },
        promoted: { id: 'promoted', type: 'final', entry: 'noteEnd' },
        rolledBack: { id: 'rolledBack', type: 'final', entry: 'noteEnd' },
        aborted: { id: 'aborted', type: 'final', entry: 'noteEnd' },
        failed: { id: 'failed', type: 'final', entry: 'noteEnd' },
        superseded: { id: 'superseded', type: 'final', entry: 'noteEnd' },
      },
    },
    pause: {
      initial: 'running',
      states: {
        running: {
          always: [
            { guard: 'isOver', target: 'ended' },
            { guard: 'evidenceRanOutThenPause', target: 'paused', actions: 'noteImpatience' },
            { guard: 'isSuspectedAgain', target: 'paused', actions: 'noteSuspicion' },
          ],
          on: {
            'operator.paused': { guard: 'isGoingForward', target: 'paused', actions: 'notePause' },
            'traffic.foreign': { guard: 'isForeign', target: 'paused', actions: 'noteForeign' },
            'incident.opened': { guard: 'incidentPauses', target: 'paused', actions: 'noteIncident' },
          },
        },
        paused: {
          always: [
            { guard: 'isOver', target: 'ended' },
            { guard: 'wasUnpaused', target: 'running' },
          ],
          on: {
            'operator.resumed': { target: 'running', actions: 'noteResume' },
            'operator.promoted': { target: 'running', actions: 'noteResume' },
            'operator.promotedFully': { target: 'running', actions: 'noteResume' },
            'traffic.foreign': { guard: 'isForeign', actions: 'noteForeign' },
          },
        },
        ended: { type: 'final' },
      },
    },
  },
});
