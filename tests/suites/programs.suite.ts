import { runTogether } from './together';

runTogether('programs');
