// The notes by which replicas tell each other of the cutover, on the log's control stream and so in one order with the
// events. In come notes, out go entries, and the reverse. Promises: whatever stands in the stream, also by another program or
// release, a note that was read has every field with its type.

import { z } from 'zod';
import { controlStream, type Entry, type Log, type NewEntry, typingStream } from '../log/log.ts';
import { type CutoverState, stateShape } from '../rooms/state.ts';

export type Note =
  /** Who is there? Answered at once by every replica that reads. */
  | { kind: 'roll call'; id: string }
  | { kind: 'here'; id: string; instance: string }
  /** The moving rooms are about to move: hold their calls, and say when none is under way any more. */
  | { kind: 'announce'; id: string; from: CutoverState; to: CutoverState }
  /** `late`: rooms with a call at the bridge that has no answer yet; a `late fence` follows. */
  | { kind: 'ready'; id: string; instance: string; late: string[] }
  /** The state has changed. Stands in the log in one step with the state itself. */
  | {
      kind: 'commit';
      id: string;
      from: CutoverState;
      to: CutoverState;
      participants: string[];
      late: { instance: string; rooms: string[] }[];
      /** All rooms come back from the bridge, where the log's outage had taken them; `from` says that they were there. */
      endsOutage: boolean;
    }
  /** What stood before the commit was delivered here, or its time was over and it is counted; the rooms that leave the stream lane may go on. */
  | { kind: 'passed'; id: string; instance: string }
  /** The announced change does not come. */
  | { kind: 'abandon'; id: string }
  /** The replica's late calls of this handover are answered: fence every connection before what follows in their rooms. */
  | { kind: 'late fence'; id: string; instance: string }
  /** This user types in this room, through the bridge's hub: a note may be on its way to readers. */
  | { kind: 'hub typing'; room: string; user: string }
  /** This user types in more rooms than people do. */
  | { kind: 'hub typing anywhere'; user: string }
  /** This replica's recent ids are in the log. */
  | { kind: 'remembered'; epoch: number; instance: string }
  /** A state that the log had lost, written back. */
  | { kind: 'restored'; to: CutoverState };

/** Clients cause them. */
const ofClients = new Set<Note['kind']>(['hub typing', 'hub typing anywhere']);
/** Of either stream. */
const maxNotes = 1_000;

export function toEntry(note: Note): NewEntry {
  return {
    eventIds: [],
    eventType: 'control',
    stream: ofClients.has(note.kind) ? typingStream : controlStream,
    maxLength: maxNotes,
    room: '',
    payload: JSON.stringify(note),
    deliveries: [],
  };
}

/** Tells all replicas; resolves when the log has it. Errors: LOG_APPEND_*, LOG_UNAVAILABLE. */
export async function tell(log: Pick<Log, 'append'>, note: Note): Promise<void> {
  await log.append(toEntry(note));
}

const id = z.string();
const instance = z.string();
const names = z.array(z.string());
const shapes: { [Kind in Note['kind']]: z.ZodType<Extract<Note, { kind: Kind }>> } = {
  'roll call': z.object({ kind: z.literal('roll call'), id }),
  here: z.object({ kind: z.literal('here'), id, instance }),
  announce: z.object({ kind: z.literal('announce'), id, from: stateShape, to: stateShape }),
  ready: z.object({ kind: z.literal('ready'), id, instance, late: names }),
  commit: z.object({
    kind: z.literal('commit'),
    id,
    from: stateShape,
    to: stateShape,
    participants: names,
    late: z.array(z.object({ instance, rooms: names })),
    endsOutage: z.boolean(),
  }),
  passed: z.object({ kind: z.literal('passed'), id, instance }),
  abandon: z.object({ kind: z.literal('abandon'), id }),
  'late fence': z.object({ kind: z.literal('late fence'), id, instance }),
  'hub typing': z.object({ kind: z.literal('hub typing'), room: z.string(), user: z.string() }),
  'hub typing anywhere': z.object({ kind: z.literal('hub typing anywhere'), user: z.string() }),
  remembered: z.object({ kind: z.literal('remembered'), epoch: z.int(), instance }),
  restored: z.object({ kind: z.literal('restored'), to: stateShape }),
};

/**
 * @returns undefined for a kind that only another release knows
 * @throws Error where it is no note; the message says why, in one line
 */
export function readNote({ payload }: Pick<Entry, 'payload'>): Note | undefined {
  const value = JSON.parse(payload) as { kind?: unknown } | null;
  const kind = value?.kind;
  if (typeof kind !== 'string') throw new Error('the note has no kind');
  if (!Object.hasOwn(shapes, kind)) return undefined;
  const { data, error } = shapes[kind as Note['kind']].safeParse(value);
  if (error === undefined) return data;
  throw new Error(
    `the note '${kind}' has a wrong shape at ${error.issues.map(({ path }) => path.join('.')).join(', ')}`,
  );
}
