/** @file "lowrank/data": data files as tables, and batches of similar lengths. */

export { planBatches, type Batch, type BatchOptions } from "./batches.ts";
export { readTable, type ReadTableOptions, type Row, type Table } from "./readers.ts";
export { stratifiedSplit, type Split } from "./split.ts";
