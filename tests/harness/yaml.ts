import { load, loadAll } from 'js-yaml';

/** Parses a document whose shape a test knows. */
export const parseYaml = (text: string): any => load(text);

/** Parses a file of several documents. */
export const parseAllYaml = (text: string): any[] => loadAll(text);
