// The notes by which replicas tell each other of the cutover, on the log's control stream and so in one order with the
// events. In come notes, out go entries, and the reverse.

import { controlStream, type Entry, type NewEntry } from '../log/log.ts';
import type { CutoverState } from './state.ts';

export type Note =
  /** Who is there? Answered at once by every replica that reads. */
  | { kind: 'roll call'; id: string }
  | { kind: 'here'; id: string; instance: string }
  /** The moving rooms are about to move: hold their calls, and say when none is under way any more. */
  | { kind: 'announce'; id: string; from: CutoverState; to: CutoverState }
  /** `late`: rooms with a call at the bridge that has no answer yet; a `fence` note for hold `<id> <instance>` follows. */
  | { kind: 'ready'; id: string; instance: string; late: string[] }
  /** The state has changed. Stands in the log in one step with the state itself. */
  | {
      kind: 'commit';
      id: string;
      from: CutoverState;
      to: CutoverState;
      participants: string[];
      late: { instance: string; rooms: string[] }[];
    }
  /** What stood before the commit was delivered here; the rooms that leave the stream lane may go on. */
  | { kind: 'passed'; id: string; instance: string }
  /** The announced change does not come. */
  | { kind: 'abandon'; id: string }
  /** Bridge calls of these rooms are answered: fence every connection before what follows. */
  | { kind: 'fence'; id: string; rooms: string[] | 'all' }
  /** This user types in this room, through the bridge's hub: a note may be on its way to readers. */
  | { kind: 'hub typing'; room: string; user: string }
  /** This replica's recent ids are in the log. */
  | { kind: 'remembered'; epoch: number; instance: string }
  /** A state that the log had lost, written back. */
  | { kind: 'restored'; to: CutoverState };

const maxNotes = 1_000;

export function toEntry(note: Note): NewEntry {
  return {
    eventIds: [],
    eventType: 'control',
    stream: controlStream,
    maxLength: maxNotes,
    room: '',
    payload: JSON.stringify(note),
    deliveries: [],
  };
}

export function readNote(entry: Entry): Note {
  return JSON.parse(entry.payload) as Note;
}
