import { runTogether } from './together';

runTogether('site');
