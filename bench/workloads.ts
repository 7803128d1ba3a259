// The loads under which the systems are compared, see docs/benchmarks/README.md.

import { evenly } from '../src/bench/crowd.ts';

export interface Workload {
  name: string;
  /** As the table says it. */
  title: string;
  /** How many clients each room has. */
  members: number[];
  /** Messages a second. */
  rate: number;
  typists?: number;
  /** Clients a second that come, stay for 2 s and go. */
  visitors?: number;
  /** Nothing is said: what a connection costs in memory is measured. */
  isIdle?: boolean;
}

/** 80 of 100 rooms have 2 members, 15 have 10, 5 have 60. */
const mixedRooms = [...Array(80).fill(2), ...Array(15).fill(10), ...Array(5).fill(60)] as number[];

export const workloads: Workload[] = [
  { name: 'idle-9000', title: '9,000 idle clients', members: evenly(9_000, 4_500), rate: 0, isIdle: true },
  { name: 'small-200', title: '100 clients, 50 rooms, 200/s', members: evenly(100, 50), rate: 200 },
  { name: 'small-2000', title: '100 clients, 50 rooms, 2,000/s', members: evenly(100, 50), rate: 2_000 },
  { name: 'room-1000-20', title: '1,000 in one room, 20/s', members: [1_000], rate: 20 },
  { name: 'room-1000-60', title: '1,000 in one room, 60/s', members: [1_000], rate: 60 },
  { name: 'room-5000-5', title: '5,000 in one room, 5/s', members: [5_000], rate: 5 },
  {
    name: 'mixed-day',
    title: 'mixed day: 610 clients, 100 rooms, 200/s, 20 typists, 10 visitors/s',
    members: mixedRooms,
    rate: 200,
    typists: 20,
    visitors: 10,
  },
];
