// The version of Redis whose commands are spoken: clients go by it.

export const redisVersion = '7.0.15'
