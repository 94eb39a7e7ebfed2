import { runTogether } from './together';

runTogether('database');
